"""The project itself: the documents of the process compared with evidence, and the sprint review.

Imports every room below. Offers the verbs `process` and `review`. What the gate needs from here passes through a
file, reports/process.json.
"""
