"""The study behind the collection's claims: recipes x concepts x seeds x prompts, one command.

``adb evaluate`` trains every recipe on every concept, long, measures it on its way, and writes one
table and one summary. A cell (recipe, concept, seed) is a file that is made once.

- ``plan``      what is compared, and what speaks against it before anything runs
- ``bench``     what all cells share: model, judge, the true pictures; and how a model is measured
- ``cell``      one cell: made, and gone on with after an interruption
- ``run``       all cells, also by several processes side by side
- ``archive``   finished cells in one file, with which another machine goes on
- ``estimate``  how long that takes on this machine, said before it starts
- ``table``     every number, tidy: one row a recipe, concept, seed, moment and complexity
- ``numbers``   its rows as means over concepts, with intervals
- ``curves``    frontiers: every recipe's curve, and the method's against each other's
- ``tuning``    every setting of every recipe, ranked, and what each recipe cost
- ``summary``   what is concluded: the families of tests, each corrected as a whole
- ``report``    the files: table, summary, Markdown, figures; and what is printed
- ``stored``    results that were stored are checked: a cell is made again, and stands or does not
"""
