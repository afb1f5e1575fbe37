"""The machinery of the project's MLOps cycle, the same in every repository: `make update` keeps it current.

You never have to open it. A folder is a room with one concern; its first page says what lives there. Rooms import
downwards only: cli -> process -> monitoring -> serving, delivery -> release -> versions -> adopt, pipeline -> tracking
-> core. A verb such as `release` is a module of its name in its room. Your own code is the package beside this one.
"""
