"""Where results come from and what was decided: git and DVC, the MLflow store with its ledger, the prediction log.

Imports core. Offers versions of the model (`registry`, `bundle`), the md5 of every file that a commit's results come
from (`lineage`), and the log of answers and feedback (`prediction_log`).
"""
