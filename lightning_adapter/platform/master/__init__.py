"""How are a trial's requests brought to its master, who may be away, slow, or refuse?"""
