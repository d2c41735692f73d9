"""Published checkpoints in their own layouts, made into what this project loads. Nothing is unpickled."""
