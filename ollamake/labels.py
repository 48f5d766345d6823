"""The mark in a label mask of a token without loss. Alone, so that train does not depend on how masks are made."""

IGNORE_INDEX = -100  # the value that torch's cross entropy skips
