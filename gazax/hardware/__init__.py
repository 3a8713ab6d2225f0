"""What a program asks of a machine: of chips that are not there, and of the memory beside one."""
