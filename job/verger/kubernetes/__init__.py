"""Runs in a cluster, seen from outside: what they are at, and in one line why one can't start or did not end well."""
