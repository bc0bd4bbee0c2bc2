"""One node: typed inputs in, effects out, one deadline; here the families meet."""
