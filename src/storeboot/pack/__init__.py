"""Boot packs: a closure's names, and the data of the files that boots read, in one file."""
