"""Pages that one person sends another: each is one file, and asks nothing of the network."""
