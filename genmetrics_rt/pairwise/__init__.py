"""Images two by two: those of two sides matched by name, or those of one side at random, and how different they look.

`comparing` holds the verbs: `matching` says which belong together, `measuring` runs them through a perceptual distance,
`scale` says what known damage gives, `report` is the answer.
"""
