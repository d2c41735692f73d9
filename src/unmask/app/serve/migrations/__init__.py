"""Steps from one layout of the database to the next; `db.Database` runs those that are missing."""
