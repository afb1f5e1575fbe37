"""Yours: how features are made, which model learns from them, and whatever you add beside these two."""
