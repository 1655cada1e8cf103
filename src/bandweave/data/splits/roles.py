"""The roles of label pixels in a split, by their numbers in its arrays."""

UNUSED, TRAIN, VALIDATION, TEST, GUARD = 0, 1, 2, 3, 4
ROLES = ("unused", "train", "validation", "test", "guard")
