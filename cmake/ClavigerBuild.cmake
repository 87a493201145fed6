# How every target of the tree is built, and the one way to add a module, a program or a test.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)

option(CLAVIGER_TESTS "build the tests" ON)
option(CLAVIGER_HARDENED "hardening flags of a release" OFF)
option(CLAVIGER_FAILPOINTS "let CLAVIGER_FAILPOINT in the environment kill a process at a named step (tests only)" OFF)
option(CLAVIGER_FUZZ "build libFuzzer targets (clang)" OFF)
set(CLAVIGER_SANITIZE "" CACHE STRING "value of -fsanitize=, empty for none")
option(CLAVIGER_COVERAGE "instrument for gcov" OFF)

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl>=3.0)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb>=0.9.24)
pkg_check_modules(MHD REQUIRED IMPORTED_TARGET libmicrohttpd>=0.9.75)
pkg_check_modules(GNUTLS REQUIRED IMPORTED_TARGET gnutls>=3.7)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.88)
pkg_check_modules(CRYPTSETUP REQUIRED IMPORTED_TARGET libcryptsetup>=2.6)
pkg_check_modules(BLKID REQUIRED IMPORTED_TARGET blkid)
if(CLAVIGER_TESTS)
	pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

add_library(claviger_flags INTERFACE)
target_include_directories(claviger_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_definitions(claviger_flags INTERFACE _GNU_SOURCE CLAVIGER_VERSION="${PROJECT_VERSION}")
target_compile_options(claviger_flags INTERFACE
	-Wall -Wextra -Wconversion -Wshadow -Wvla -Wswitch-enum -Wformat=2 -Wmissing-prototypes
	-Wstrict-prototypes -Wundef -Wpointer-arith -Wcast-align -Werror -fno-common)
if(CLAVIGER_FAILPOINTS)
	target_compile_definitions(claviger_flags INTERFACE CLAVIGER_FAILPOINTS=1)
endif()
if(CLAVIGER_SANITIZE)
	target_compile_options(claviger_flags INTERFACE
		-fsanitize=${CLAVIGER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
	target_link_options(claviger_flags INTERFACE -fsanitize=${CLAVIGER_SANITIZE})
endif()
if(CLAVIGER_COVERAGE)
	target_compile_options(claviger_flags INTERFACE --coverage)
	target_link_options(claviger_flags INTERFACE --coverage)
endif()
if(CLAVIGER_HARDENED)
	set(CMAKE_POSITION_INDEPENDENT_CODE ON)
	target_compile_options(claviger_flags INTERFACE
		-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE)
	target_link_options(claviger_flags INTERFACE -Wl,-z,relro,-z,now -pie)
endif()

# claviger_module(NAME SOURCES … LINKS …): one static library a folder. LINKS is the whole list of what the
# folder may use; tools/lint/layers holds the includes to the same list.
function(claviger_module name)
	cmake_parse_arguments(M "" "" "SOURCES;LINKS" ${ARGN})
	add_library(${name} STATIC ${M_SOURCES})
	target_link_libraries(${name} PRIVATE claviger_flags PUBLIC ${M_LINKS})
endfunction()

# claviger_program(NAME SOURCES … LINKS …): a program in build/bin.
function(claviger_program name)
	cmake_parse_arguments(M "" "" "SOURCES;LINKS" ${ARGN})
	add_executable(${name} ${M_SOURCES})
	target_link_libraries(${name} PRIVATE claviger_flags ${M_LINKS})
endfunction()

# claviger_test(NAME SOURCES … LINKS …): a cmocka program, labelled "unit".
function(claviger_test name)
	cmake_parse_arguments(M "" "" "SOURCES;LINKS" ${ARGN})
	add_executable(${name} ${M_SOURCES})
	target_link_libraries(${name} PRIVATE claviger_flags ${M_LINKS} PkgConfig::CMOCKA Threads::Threads)
	set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
	add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
	set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300
		ENVIRONMENT "CLAVIGER_VECTORS=${PROJECT_SOURCE_DIR}/../shared/vectors")
endfunction()
