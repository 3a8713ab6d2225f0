"""A config put together: its numbers checked, its parts built, its run led from data to table."""
