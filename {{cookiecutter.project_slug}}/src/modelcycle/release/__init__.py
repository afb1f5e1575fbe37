"""What becomes of a model: the gate judges it, release makes it the champion, rollback goes back, trace checks it all.

Imports adopt, pipeline, tracking and core. Offers the verbs `gate`, `release`, `rollback` and `trace`, and the cards
in docs/ that a release writes.
"""
