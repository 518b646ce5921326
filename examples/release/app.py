print("a release")
