"""What each data set's files say: a reader a data set, and what readers share."""
