"""The pages a person sees under `/pay/{attempt}`, and as the owner of an organization. `routes` is HTTP, the rest pure.

`screens` decides what is shown, `texts` says it; `page`, `deposit` and `moments` make HTML of it, through `markup`, the
one place where text becomes HTML. `style.css` and `state.js` are read from the package and allowed by their hashes.
`owner_page` and `owner_texts` are for owners; `api.http.routes.owners` serves them. `receipt_page` is for both.
"""
