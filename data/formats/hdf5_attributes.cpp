#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "data/formats/hdf5_objects.h"
#include "kernels/error.h"

namespace glow {

using namespace hdf5;

namespace {

// An attribute with a single value.
struct OpenAttribute {
    Handle attribute, type;
};
OpenAttribute open_attribute(hid_t file, const std::filesystem::path& shown, const std::string& object,
                             const std::string& name) {
    const Handle owner = open_object(file, shown, object);
    if (H5Aexists(owner, name.c_str()) <= 0)
        bad_input(shown, object, fmt::format("attribute {} is missing", name));
    Handle attribute(H5Aopen(owner, name.c_str(), H5P_DEFAULT), H5Aclose);
    if (attribute.bad()) bad_input(shown, object, fmt::format("attribute {}: {}", name, reason()));
    Handle type(H5Aget_type(attribute), H5Tclose);
    const Handle space(H5Aget_space(attribute), H5Sclose);
    if (type.bad() || space.bad()) bad_input(shown, object, fmt::format("attribute {}: {}", name, reason()));
    if (H5Sget_simple_extent_type(space) == H5S_NULL || H5Sget_simple_extent_npoints(space) != 1)
        bad_input(shown, object, fmt::format("attribute {}: expected one value", name));
    return {std::move(attribute), std::move(type)};
}

// Replaces an attribute by a single value. Returns why HDF5 failed, or an empty text.
std::string set_attribute(const Handle& owner, const std::string& name, hid_t type, const void* value) {
    if (H5Aexists(owner, name.c_str()) > 0) H5Adelete(owner, name.c_str());
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    Handle attribute(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (attribute.bad() || H5Awrite(attribute, type, value) < 0 || !attribute.close()) return reason();
    return "";
}

}  // namespace

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const Handle owner = open_object(id_, shown_, object);
    const bool has = H5Aexists(owner, name.c_str()) > 0;
    require_read(shown_, object);
    return has;
}

std::string Hdf5File::string_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const OpenAttribute attribute = open_attribute(id_, shown_, object, name);
    const auto fail = [&](const std::string& what) {
        bad_input(shown_, object, fmt::format("attribute {}: {}", name, what));
    };
    if (H5Tget_class(attribute.type) != H5T_STRING)
        fail("expected a string, found " + describe_type(attribute.type));
    if (H5Tis_variable_str(attribute.type) > 0) {
        const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
        H5Tset_size(memory, H5T_VARIABLE);
        H5Tset_cset(memory, H5Tget_cset(attribute.type));
        char* text = nullptr;
        if (H5Aread(attribute.attribute, memory, &text) < 0) fail("cannot be read: " + reason());
        const std::string result = text == nullptr ? "" : text;
        H5free_memory(text);
        require_not_shorter(id_, shown_, bytes_, object);
        return result;
    }
    const std::size_t size = H5Tget_size(attribute.type);
    if (bytes_ >= 0 && size > static_cast<std::size_t>(bytes_)) fail("claims more bytes than the file has");
    std::string text(size, '\0');
    if (H5Aread(attribute.attribute, attribute.type, text.data()) < 0) fail("cannot be read: " + reason());
    require_not_shorter(id_, shown_, bytes_, object);
    if (H5Tget_strpad(attribute.type) == H5T_STR_SPACEPAD)
        text.erase(text.find_last_not_of(' ') + 1);
    else
        text.erase(std::min(text.find('\0'), text.size()));
    return text;
}

std::int64_t Hdf5File::integer_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const OpenAttribute attribute = open_attribute(id_, shown_, object, name);
    const auto fail = [&](const std::string& what) {
        bad_input(shown_, object, fmt::format("attribute {}: {}", name, what));
    };
    if (H5Tget_class(attribute.type) != H5T_INTEGER)
        fail("expected an integer, found " + describe_type(attribute.type));
    if (H5Tget_sign(attribute.type) == H5T_SGN_NONE) {
        std::uint64_t value = 0;
        if (H5Aread(attribute.attribute, H5T_NATIVE_UINT64, &value) < 0) fail("cannot be read: " + reason());
        require_not_shorter(id_, shown_, bytes_, object);
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            fail("is too large");
        return static_cast<std::int64_t>(value);
    }
    std::int64_t value = 0;
    if (H5Aread(attribute.attribute, H5T_NATIVE_INT64, &value) < 0) fail("cannot be read: " + reason());
    require_not_shorter(id_, shown_, bytes_, object);
    return value;
}

double Hdf5File::number_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const OpenAttribute attribute = open_attribute(id_, shown_, object, name);
    const H5T_class_t kind = H5Tget_class(attribute.type);
    if (kind != H5T_FLOAT && kind != H5T_INTEGER)
        bad_input(
            shown_, object,
            fmt::format("attribute {}: expected a number, found {}", name, describe_type(attribute.type)));
    double value = 0;
    if (H5Aread(attribute.attribute, H5T_NATIVE_DOUBLE, &value) < 0)
        bad_input(shown_, object, fmt::format("attribute {}: cannot be read: {}", name, reason()));
    require_not_shorter(id_, shown_, bytes_, object);
    return value;
}

void Hdf5File::set_string(const std::string& object, const std::string& name, const std::string& value) {
    const Lock lock(library());
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const char* text = value.c_str();
    const std::string problem = set_attribute(open_object(id_, shown_, object), name, type, &text);
    require_written(problem.empty(), fmt::format("attribute {} of {}", name, object), problem);
}

void Hdf5File::set_integer(const std::string& object, const std::string& name, std::int64_t value) {
    const Lock lock(library());
    const std::string problem =
        set_attribute(open_object(id_, shown_, object), name, H5T_NATIVE_INT64, &value);
    require_written(problem.empty(), fmt::format("attribute {} of {}", name, object), problem);
}

void Hdf5File::set_number(const std::string& object, const std::string& name, double value) {
    const Lock lock(library());
    const std::string problem =
        set_attribute(open_object(id_, shown_, object), name, H5T_NATIVE_DOUBLE, &value);
    require_written(problem.empty(), fmt::format("attribute {} of {}", name, object), problem);
}

}  // namespace glow
