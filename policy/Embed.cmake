# cmake -DIN=DIR -DNAMES=base,operators,… -DFIXED=base -DOUT=FILE.c -P Embed.cmake: the shipped documents as the table
# of policy/shipped.h, in this order.
string(REPLACE "," ";" names "${NAMES}")
set(arrays "")
set(rows "")
foreach(name ${names})
	file(READ ${IN}/${name}.json hex HEX)
	string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
	string(REPLACE "-" "_" symbol ${name})
	set(fixed false)
	if(name STREQUAL FIXED)
		set(fixed true)
	endif()
	string(APPEND arrays "static const uint8_t text_of_${symbol}[] = {${bytes}};\n")
	string(APPEND rows "\t{\"${name}\", {text_of_${symbol}, sizeof text_of_${symbol}}, ${fixed}},\n")
endforeach()
file(WRITE ${OUT} "#include \"policy/shipped.h\"\n\n${arrays}\nconst policy_shipped_t shipped_table[] = {\n${rows}};\n"
	"const size_t shipped_table_n = sizeof shipped_table / sizeof *shipped_table;\n")
