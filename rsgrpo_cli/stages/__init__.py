"""The stages: Arrow tables in, Arrow tables out. No paths, no printing, no stage imports another."""
