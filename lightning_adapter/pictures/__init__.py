"""How does a batch look, as the model sees it?"""
