"""Commands: parse, call one function, print. Results on stdout, all else on stderr."""
