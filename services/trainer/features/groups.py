"""The feature groups and their sizes. This module imports no torch, so that the configuration can name the groups."""

# Feature groups of one hand, and the number of features in each.
HAND_GROUPS = {
    "handshape": 31,  # 15 flexions, 4 spreads, 5 reaches, 4 pinches, 3 gaps
    "outline": 40,  # 20 joints about the wrist, in the picture's plane
    "orientation": 9,  # pointing, palm's normal, direction of the index finger
    "location": 6,  # wrist to the body, to the nose, to the elbow
    "contact": 7,  # nearness to five places, index tip to nose
    "movement": 15,  # wrist fast and slow, speed, tips about the wrist
    "presence": 1,
}

# Feature groups of both hands together.
BOTH_GROUPS = {
    "hands": 10,  # wrist to wrist, tip to tip, tip to wrist, with distances, and whether they move alike
    "presence": 1,
}

# The names of all groups. "presence" is in both dictionaries: one number for each hand, and one for the body.
GROUPS = tuple(dict.fromkeys([*HAND_GROUPS, *BOTH_GROUPS]))
