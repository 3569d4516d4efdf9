"""The pages a person sees under `/pay/{attempt}`. `routes` is HTTP, the rest is pure.

`screens` decides what is shown, `texts` says it; `page`, `deposit` and `moments` make HTML of it, through `markup`, the
one place where text becomes HTML. `style.css` and `state.js` are read from the package and allowed by their hashes.
"""
