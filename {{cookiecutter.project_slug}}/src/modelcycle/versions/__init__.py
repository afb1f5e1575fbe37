"""The versions of the model: what they are made of, what was decided about them, what they have answered.

Imports tracking. Offers versions in the registry (`registry`) and in memory (`bundle`), the md5 of every file that a
commit's results come from (`lineage`), the decisions (`ledger`), and the log of answers and feedback
(`prediction_log`). A version runs in this process or as a child (`run_version`, `version_process`).
"""
