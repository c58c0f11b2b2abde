import json
import sys

from . import analyse

with open(sys.argv[1], encoding="utf-8") as access, open(sys.argv[2], encoding="utf-8") as logins:
    print(json.dumps(analyse(access.read(), logins.read()), indent=1, sort_keys=True))
