"""Pictures of any kind as grey levels, and where they lie in the prepared frame."""
