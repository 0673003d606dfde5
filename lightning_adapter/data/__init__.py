"""How are the user's loaders driven, epoch by epoch, sharded, and set to a position?"""
