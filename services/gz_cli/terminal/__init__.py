"""What all that is shown is made of: tables and colours that fit a terminal, data on stdout, words on stderr."""
