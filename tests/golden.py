"""The seeded golden arrays: numpy's legacy RandomState(0), whose stream numpy has frozen, drawn in exactly this order.

Golden values computed from them come from an independent float64 computation (numpy 2.4, scipy 1.17), not from
this package; they are quoted beside the assertions that use them.
"""

from __future__ import annotations

import numpy as np

_stream = np.random.RandomState(0)
X = _stream.randn(500, 8)  # "real"
Y = _stream.randn(500, 8) * 1.2 + 0.3  # "generated"
T = _stream.randn(500, 8)  # "train"
L = _stream.randn(1000, 10) * 2.0  # logits

# The sanity values that came with the recipe.
assert X[0, 0] == 1.764052345967664 and abs(X.sum() + 101.810927436763) < 1e-9
assert abs(Y.sum() - 1192.515191302440) < 1e-9 and abs(T.sum() + 78.409959450942) < 1e-9
assert abs(L.sum() - 330.025754866667) < 1e-9
