"""The learner's own model: what the exercises accepted, put together and compared.

`kept` holds the accepted functions, `parts` a model made of such functions, `compare` finds the
first tensor at which it parts from the reference. `progress` records which exercises are done.
"""
