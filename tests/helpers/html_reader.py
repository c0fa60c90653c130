"""What is on a page of HTML."""

import html.parser


class Reader(html.parser.HTMLParser):
    """Collects references, ids, section headings and unclosed tags."""

    void = ("meta", "input", "br", "link", "img", "hr")

    def __init__(self):
        super().__init__()
        self.references, self.ids, self.open, self.headings = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)
