# The book's package lives in an environment of its own (setup_d2l.py): the types of what is used of it.
