"""Where results come from: git, DVC, and the runs in the MLflow store.

Imports core. Offers a strict `git`, the feedback that DVC keeps beside the source, and the store.
"""
