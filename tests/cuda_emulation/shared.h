/* SPDX-License-Identifier: Apache-2.0 */
/* Pointers into a block's shared memory that know their array: each access is checked against its bounds and, when races are looked for,
 * against the other threads' accesses. a[i], *a, a + n, &a[i] and atomics work as with plain pointers; members of structures can be read,
 * and structures be written as a whole. `auto x = a[i]` would keep the place, not the value: name the type. */
#ifndef CUDA_EMULATION_SHARED_H
#define CUDA_EMULATION_SHARED_H

#include <type_traits>

#include "block.h"

namespace cuda_emulation {

template <typename T> class shared_pointer;

/* One element, read or written. */
template <typename T> class shared_cell {
    using value = std::remove_const_t<T>;
    T *at;
    const shared_array *array;

  public:
    shared_cell(T *place, const shared_array *of) : at(place), array(of) {}
    shared_cell(const shared_cell &) = default;
    operator value() const {
        if (now.check) shared_touch(array, at, sizeof(T), touch::read);
        return *at;
    }
    value operator=(value v) const {
        if (now.check) shared_touch(array, at, sizeof(T), touch::write);
        return *at = v;
    }
    value operator=(const shared_cell &other) const { return *this = static_cast<value>(other); }
    template <typename U> value operator=(const shared_cell<U> &other) const {
        return *this = static_cast<value>(static_cast<std::remove_const_t<U>>(other));
    }
    template <typename U> value operator+=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) + v); }
    template <typename U> value operator-=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) - v); }
    template <typename U> value operator*=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) * v); }
    template <typename U> value operator/=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) / v); }
    template <typename U> value operator|=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) | v); }
    template <typename U> value operator&=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) & v); }
    template <typename U> value operator^=(const U &v) const { return *this = static_cast<value>(static_cast<value>(*this) ^ v); }
    value operator++() const { return *this += 1; }
    value operator--() const { return *this -= 1; }
    value operator++(int) const {
        const value old = *this;
        *this = static_cast<value>(old + 1);
        return old;
    }
    value operator--(int) const {
        const value old = *this;
        *this = static_cast<value>(old - 1);
        return old;
    }
    shared_pointer<T> operator&() const { return shared_pointer<T>(at, array); }
};

/* One structure: a copy, whose members are read; assigned as a whole it is written. */
template <typename T> class shared_object : public T {
    T *at;
    const shared_array *array;

  public:
    shared_object(T *place, const shared_array *of) : T(*place), at(place), array(of) {}
    void operator=(const T &v) const {
        if (now.check) shared_touch(array, at, sizeof(T), touch::write);
        *at = v;
    }
    void operator=(const shared_object &other) const { *this = static_cast<const T &>(other); }
    shared_pointer<T> operator&() const { return shared_pointer<T>(at, array); }
};

template <typename T> class shared_pointer {
    T *at;
    const shared_array *array;
    static const bool plain = std::is_arithmetic<T>::value || std::is_enum<T>::value || std::is_pointer<T>::value;

    using reference = std::conditional_t<plain, shared_cell<T>, std::conditional_t<std::is_const<T>::value, T &, shared_object<T>>>;

  public:
    using element = T;
    shared_pointer() : at(nullptr), array(nullptr) {}
    shared_pointer(T *place, const shared_array *of) : at(place), array(of) {}
    template <typename U, typename = std::enable_if_t<std::is_same<const U, T>::value>>
    shared_pointer(const shared_pointer<U> &other) : at(other.raw()), array(other.of()) {}

    /* Where element i lies, if it lies in the array. */
    T *place(long long i) const {
        T *p = at + i;
        const char *c = reinterpret_cast<const char *>(p);
        if (c < array->base || c + sizeof(T) > array->base + array->bytes)
            shared_outside(array, (c - array->base) / static_cast<long long>(array->element));
        return p;
    }
    reference operator[](long long i) const {
        T *p = place(i);
        if constexpr (plain) return shared_cell<T>(p, array);
        else {
            if (now.check) shared_touch(array, p, sizeof(T), touch::read);
            if constexpr (std::is_const<T>::value) return *p;
            else return shared_object<T>(p, array);
        }
    }
    reference operator*() const { return (*this)[0]; }
    const T *operator->() const {
        T *p = place(0);
        if (now.check) shared_touch(array, p, sizeof(T), touch::read);
        return p;
    }
    T *atomic() const {
        T *p = place(0);
        if (now.check) shared_touch(array, p, sizeof(T), touch::atomic);
        return p;
    }
    template <typename N> shared_pointer operator+(N n) const { return shared_pointer(at + static_cast<long long>(n), array); }
    template <typename N> shared_pointer operator-(N n) const { return shared_pointer(at - static_cast<long long>(n), array); }
    long long operator-(const shared_pointer &other) const { return at - other.at; }
    template <typename N> shared_pointer &operator+=(N n) { return *this = *this + n; }
    template <typename N> shared_pointer &operator-=(N n) { return *this = *this - n; }
    shared_pointer &operator++() { return *this += 1; }
    shared_pointer &operator--() { return *this -= 1; }
    bool operator==(const shared_pointer &other) const { return at == other.at; }
    bool operator!=(const shared_pointer &other) const { return at != other.at; }
    bool operator<(const shared_pointer &other) const { return at < other.at; }
    explicit operator bool() const { return at != nullptr; }
    T *raw() const { return at; }
    const shared_array *of() const { return array; }
};

/* The same memory as elements of another type: one launch's dynamic memory cut into several arrays. */
template <typename To, typename From> static inline shared_pointer<To> shared_as(const shared_pointer<From> &from) {
    return shared_pointer<To>(reinterpret_cast<To *>(from.raw()), from.of());
}

template <typename T> static inline shared_pointer<T> shared_declared(const void *key, const char *name, size_t count) {
    static_assert(std::is_trivially_copyable<T>::value, "shared memory holds plain values");
    const shared_array *array = shared_declare(key, name, count, sizeof(T));
    return shared_pointer<T>(reinterpret_cast<T *>(array->base), array);
}
template <typename T> static inline shared_pointer<T> shared_dynamically(const char *name, size_t count) {
    static_assert(std::is_trivially_copyable<T>::value, "shared memory holds plain values");
    const shared_array *array = shared_dynamic(name, count, sizeof(T));
    return shared_pointer<T>(reinterpret_cast<T *>(array->base), array);
}

} // namespace cuda_emulation

#endif
