"""The words that the server and a machine say to each other, each defined once.

Python uses these definitions. The initrd's shell, the NixOS modules and the documentation are held
to them by tests that read those files: test_protocol.py in tests/unit and in tests/modules.

Machines run the initrd that they booted with for as long as they are up, so a word may be added but
never changes its meaning.
"""
