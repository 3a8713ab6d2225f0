"""What a program asks of chips that are not there, by the compiler's account."""
