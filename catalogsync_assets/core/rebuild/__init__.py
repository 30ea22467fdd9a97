"""A catalog that is lost, made anew of what a backend holds."""
