"""A person's own gallery, kept by them and with their consent: is this image that person, another, or a forgery."""
