"""Start from your own table: infer the contract, bring the data under DVC, retire the example.

Imports tracking and core. Offers the verb `adopt`.
"""
