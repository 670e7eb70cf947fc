"""The playground's engine, without its page: a model whose faults are known, scored step by step.

mixture   points in the plane: the true distribution, and a model with a fault for every knob
digits    the same faults on handwritten digits
measure   the scores of a step, what a perfect model would get, and the state in one sentence
stories   settings of the knobs that show one thing each
drawing   the step as pictures and tables
"""
