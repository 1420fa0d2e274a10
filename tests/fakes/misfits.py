"""Profiles that a network cannot imitate: whether it is human-style, the profile, and what the error says."""

MISFITS = [
    (True, "", "is a human-style network"),
    (True, "rank_21k", "there is no human profile 'rank_21k'"),
    (False, "rank_5k", "is no human-style network"),
]
