# Changes one value of a JSON text and leaves every other byte of it as it is.
#
#   AT=runtimes/kase DO=get            awk -f json.awk FILE    the text of the value, nothing where there is none
#   AT=runtimes/kase DO=put VALUE='{}' awk -f json.awk FILE    the file with that value in place of the old, or added
#   AT=runtimes/kase DO=drop           awk -f json.awk FILE    the file without the value
#
# Text that is no JSON object is refused with the line and exit code 2. Any POSIX awk will do, with LC_ALL=C.

# No valid JSON holds this byte, so that the whole file is one record, final newline and all.
BEGIN { RS = "\001" }
{ text = $0 }
END {
    if (NR > 1) bad("a control character")
    at = 1
    read_value("")
    skip_space()
    if (at <= length(text)) bad("text after the end of the object")
    if (kind[""] != "{") bad("no object")

    target = ENVIRON["AT"]
    gsub("/", SUBSEP, target)
    target = SUBSEP target
    if (ENVIRON["DO"] == "get") get(target)
    else if (ENVIRON["DO"] == "put") put(target, ENVIRON["VALUE"])
    else drop(target)
}

function get(path) {
    if (path in first) printf "%s", substr(text, first[path], last[path] - first[path] + 1)
}

function put(path, value,    object, name, gap) {
    if (path in first) {
        replace(first[path], last[path], value)
        return
    }
    object = parent(path)
    name = "\"" substr(path, length(object) + 2) "\": "
    if (!(object in first)) {
        put(object, "{" name value "}")
        return
    }
    if (kind[object] != "{") {
        at = first[object]
        bad("no object")
    }
    gap = opening[object]
    if (tail[object]) replace(tail[object] + 1, tail[object], "," (gap == "" ? " " : gap) name value)
    else if (object == "") replace(first[object], last[object], "{\n    " name value "\n}")
    else replace(first[object], last[object], "{" name value "}")
}

# The exact contrary of adding: what stands before the next member stays before it.
function drop(path,    object) {
    object = parent(path)
    if (!(path in first)) printf "%s", text
    else if (previous[path]) replace(previous[path] + 1, last[path], "")
    else if (following[path]) replace(key[path], following[path] - 1, "")
    else replace(first[object] + 1, last[object] - 1, "")
}

function parent(path) {
    while (substr(path, length(path)) != SUBSEP) path = substr(path, 1, length(path) - 1)
    return substr(path, 1, length(path) - 1)
}

function replace(from, to, with) {
    printf "%s%s%s", substr(text, 1, from - 1), with, substr(text, to + 1)
}

function read_value(path,    c) {
    skip_space()
    c = substr(text, at, 1)
    first[path] = at
    kind[path] = c
    if (c == "{") read_object(path)
    else if (c == "[") read_array(path)
    else if (c == "\"") read_string()
    else take("^(true|false|null|-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?)", "no value")
    last[path] = at - 1
}

# Of a repeated key the last counts, as it does for who reads the file.
function read_object(path,    start, name, before, child, older) {
    at++
    start = at
    skip_space()
    if (substr(text, at, 1) == "}") {
        at++
        return
    }
    opening[path] = substr(text, start, at - start)
    for (before = 0; ; before = last[child]) {
        skip_space()
        start = at
        name = read_string()
        if (before) following[older] = start
        child = path SUBSEP substr(name, 2, length(name) - 2)
        key[child] = start
        previous[child] = before
        following[child] = 0
        skip_space()
        take("^:", "no colon")
        read_value(child)
        tail[path] = last[child]
        older = child
        skip_space()
        if (take("^[,}]", "neither comma nor closing brace") == "}") return
    }
}

function read_array(path) {
    at++
    skip_space()
    if (substr(text, at, 1) == "]") {
        at++
        return
    }
    do {
        # What lies in an array has no path of its own.
        read_value(path SUBSEP "[]")
        skip_space()
    } while (take("^[],]", "neither comma nor closing bracket") == ",")
}

function read_string() {
    return take("^\"([^\"\\\\[:cntrl:]]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F])*\"", "no string")
}

function skip_space() {
    while (index(" \t\r\n", substr(text, at, 1)) && at <= length(text)) at++
}

function take(pattern, otherwise,    found) {
    if (!match(substr(text, at), pattern)) bad(otherwise)
    found = substr(text, at, RLENGTH)
    at += RLENGTH
    return found
}

function bad(what,    before) {
    before = substr(text, 1, at - 1)
    printf "line %d: %s\n", gsub("\n", "", before) + 1, what > "/dev/stderr"
    exit 2
}
