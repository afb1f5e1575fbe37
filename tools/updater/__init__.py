"""How a repository is brought to another commit of the template: git.py asks, template.py renders, merge.py merges."""
