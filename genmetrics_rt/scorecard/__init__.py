"""The scorecard of a generator: six properties, each measured or with the reason why it cannot be.

Reading order: `textbook` → card → measuring → scoring.
"""
