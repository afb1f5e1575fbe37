"""The package: one module for each verb, and the few nouns that they share."""
