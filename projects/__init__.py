raise ModuleNotFoundError("import segplugins.projects.<paper>, not projects.<paper>")
