"""Boot packs: a closure's names, and the data of what boots read, in one file."""
